//! Child processes, all of them the same way: the command line is shown in grey before it runs, and a failure names it
//! with its status. Knows nothing of what is run.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result, ensure};

/// For what is said about the work, beside what the work itself prints.
pub(crate) const QUIET: Style = AnsiColor::BrightBlack.on_default();
/// For what went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// For what did not.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Runs `command` with our own stdin, stdout and stderr.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    echo(command);
    let status = command.status().with_context(|| format!("`{}` could not be started", words(command)))?;
    ensure!(status.success(), "`{}` ended with {status}", words(command));
    Ok(())
}

/// Runs `command` and returns its stdout; its stderr is shown as it comes.
pub(crate) fn show_and_read(command: &mut Command) -> Result<String> {
    echo(command);
    read_with(command, Stdio::inherit())
}

/// Runs `command`, without a word, and returns its stdout; its stderr is in the error if it fails.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    read_with(command, Stdio::piped())
}

/// Says what is about to run.
pub(crate) fn echo(command: &Command) {
    anstream::eprintln!("{QUIET}$ {}{QUIET:#}", line(command));
}

/// The same where what it prints is no text.
pub(crate) fn read_bytes(command: &mut Command) -> Result<Vec<u8>> {
    bytes_with(command, Stdio::piped())
}

fn read_with(command: &mut Command, stderr: Stdio) -> Result<String> {
    let bytes = bytes_with(command, stderr)?;
    String::from_utf8(bytes).with_context(|| format!("`{}` printed bytes that are not UTF-8", words(command)))
}

fn bytes_with(command: &mut Command, stderr: Stdio) -> Result<Vec<u8>> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn();
    let output = child
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("`{}` could not be started", words(command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let colon = if said.is_empty() { "" } else { ": " };
    ensure!(output.status.success(), "`{}` ended with {}{colon}{}", words(command), output.status, said.trim());
    Ok(output.stdout)
}

/// The command as one could type it, with the environment that it gets from us.
fn line(command: &Command) -> String {
    // A whole PATH would hide the command behind it.
    let set = command.get_envs().filter(|(name, _)| *name != "PATH").filter_map(|(name, value)| Some((name, value?)));
    let environment = set.map(|(name, value)| format!("{}={} ", name.to_string_lossy(), quoted(value)));
    environment.chain([words(command)]).collect()
}

/// The program and its arguments.
fn words(command: &Command) -> String {
    words_of(std::iter::once(command.get_program()).chain(command.get_args()))
}

/// Words as a shell takes them.
pub(crate) fn words_of<'a>(words: impl Iterator<Item = &'a OsStr>) -> String {
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> Cow<'_, str> {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again() {
        let mut command = Command::new("apt-get");
        command.args(["install", "a b", "", "it's"]).env("DEBIAN_FRONTEND", "noninteractive").env_remove("GONE");
        assert_eq!(line(&command), r"DEBIAN_FRONTEND=noninteractive apt-get install 'a b' '' 'it'\''s'");
    }

    #[test]
    fn a_failure_names_the_command_its_status_and_what_it_said() {
        let error = read(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c 'echo broken >&2; exit 3'` ended with exit status: 3: broken");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = read(&mut Command::new("no-such-program")).unwrap_err();
        assert!(format!("{error:#}").starts_with("`no-such-program` could not be started: "), "{error:#}");
    }
}
