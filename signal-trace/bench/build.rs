//! Says where the empty kernel programs are, which the real ones are held against: their package built them.

fn main() {
    println!("cargo:rerun-if-env-changed=DEP_SIGNAL_TRACE_PROGRAMS_REFERENCE");
    if let Ok(path) = std::env::var("DEP_SIGNAL_TRACE_PROGRAMS_REFERENCE") {
        println!("cargo:rustc-env=REFERENCE={path}");
    }
}
