//! Any text, read as the agent's configuration and as a policy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signal_trace::agent::options::Options;
use signal_trace::agent::settings::Settings;
use signal_trace::policy::file::Policy;
use signal_trace::yaml;

fuzz_target!(|text: &str| {
    match yaml::parse::<Options>(text, "fuzz".as_ref()) {
        Ok(options) => {
            // Names of files are not for here to open.
            let options = Options { token_file: None, ..options };
            if let Err(error) = Settings::new(options.or_default(), "node".to_owned()) {
                assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
        Err(error) => drop(error.to_string()),
    }
    if let Err(error) = Policy::parse(text) {
        drop(error.to_string());
    }
});
