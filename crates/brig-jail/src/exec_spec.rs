//! The program that a cell starts: sent by the daemon to the stub through the job pipe, never seen by the keeper.
//!
//! On the wire: u32 little-endian length, then JSON, at most [`EXEC_SPEC_MAX`] bytes. Bytes that
//! follow the specification are the runner's: the job pipe is descriptor 3 of the program afterwards and the pipe for
//! answers is 4, or both are closed, as [`RunnerChannel`] says.
//!
//! Pipes and not a socket: whoever holds one end of a unix socket can queue descriptors at the other, and the daemon
//! would have to close them. Closing a TCP socket with `SO_LINGER` waits for as long as its sender chose.

use serde::{Deserialize, Serialize};
use std::ffi::CString;
use thiserror::Error;

/// The longest specification, bytes of JSON.
pub const EXEC_SPEC_MAX: usize = 4 * 1024 * 1024;

/// The descriptor on which a runner reads what it is to do.
pub const RUNNER_FD: i32 = 3;

/// The descriptor on which a runner tells what became of it.
pub const RUNNER_ANSWER_FD: i32 = 4;

/// One argument or value of the environment: any bytes but NUL (arguments of Linux programs are not UTF-8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// The usual case.
    Utf8(String),
    /// Everything else, as a list of numbers.
    Bytes(Vec<u8>),
}

impl Text {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Text::Utf8(text) => text.as_bytes(),
            Text::Bytes(bytes) => bytes,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text::Utf8(text.to_owned())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text::Utf8(text)
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Text::Utf8(text),
            Err(error) => Text::Bytes(error.into_bytes()),
        }
    }
}

/// What becomes of the job pipe and the pipe for answers when the program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnerChannel {
    /// They are descriptors 3 and 4 of the program.
    Keep,
    /// They are closed.
    Close,
}

/// The program to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecSpec {
    /// Program and arguments. A program without a slash is looked up in `PATH` of `env`.
    pub argv: Vec<Text>,
    /// The whole environment, in order.
    pub env: Vec<(Text, Text)>,
    /// Working directory inside the cell.
    pub cwd: Text,
    /// What becomes of the job pipe.
    pub runner_channel: RunnerChannel,
}

/// Why a specification cannot be carried out. The daemon checks before it sends, the stub again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExecSpecError {
    /// There is no program.
    #[error("argv is empty")]
    NoProgram,
    /// The program's name is empty.
    #[error("argv[0] is empty")]
    EmptyProgram,
    /// A NUL byte, which ends a string for the kernel.
    #[error("{field} contains a NUL byte")]
    NulByte {
        /// Which one, as `argv[2]` or `env[PATH]`.
        field: String,
    },
    /// A name of the environment that is empty or contains `=`.
    #[error("{field} is not a name for an environment variable")]
    EnvironmentName {
        /// Which one.
        field: String,
    },
    /// Longer than [`EXEC_SPEC_MAX`].
    #[error(
        "the program's arguments and environment are {bytes} bytes long, at most {EXEC_SPEC_MAX} are possible"
    )]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// Not the JSON of a specification.
    #[error("not a program specification: {0}")]
    Malformed(String),
}

/// A specification ready for `execve`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecStrings {
    /// Program and arguments.
    pub argv: Vec<CString>,
    /// `NAME=value`.
    pub env: Vec<CString>,
    /// Working directory.
    pub cwd: CString,
    /// Files to try, in order.
    pub candidates: Vec<CString>,
}

/// Where a program without a slash is looked for when the environment has no PATH: execvp's own default.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

impl ExecSpec {
    /// Checks what the kernel could not say clearly, and makes the strings for `execve`.
    pub fn strings(&self) -> Result<ExecStrings, ExecSpecError> {
        let program = self.argv.first().ok_or(ExecSpecError::NoProgram)?.as_bytes();
        if program.is_empty() {
            return Err(ExecSpecError::EmptyProgram);
        }
        let mut argv = Vec::with_capacity(self.argv.len());
        for (index, argument) in self.argv.iter().enumerate() {
            argv.push(c_string(argument.as_bytes().to_vec(), || {
                format!("argv[{index}]")
            })?);
        }
        let mut env = Vec::with_capacity(self.env.len());
        for (name, value) in &self.env {
            let field = || format!("env[{}]", String::from_utf8_lossy(name.as_bytes()));
            if name.as_bytes().is_empty() || name.as_bytes().contains(&b'=') {
                return Err(ExecSpecError::EnvironmentName { field: field() });
            }
            env.push(c_string(
                [name.as_bytes(), b"=", value.as_bytes()].concat(),
                field,
            )?);
        }
        let cwd = c_string(self.cwd.as_bytes().to_vec(), || "cwd".to_owned())?;
        let candidates = self.candidates(program)?;
        Ok(ExecStrings {
            argv,
            env,
            cwd,
            candidates,
        })
    }

    fn candidates(&self, program: &[u8]) -> Result<Vec<CString>, ExecSpecError> {
        let field = || "argv[0]".to_owned();
        if program.contains(&b'/') {
            return Ok(vec![c_string(program.to_vec(), field)?]);
        }
        let path = self.env.iter().rev().find(|(name, _)| name.as_bytes() == b"PATH");
        let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_bytes());
        path.split(|byte| *byte == b':')
            .map(|directory| {
                if directory.is_empty() {
                    b".".as_slice()
                } else {
                    directory
                }
            })
            .map(|directory| c_string([directory, b"/", program].concat(), field))
            .collect()
    }

    /// The message for the job pipe: length and JSON. Refuses what [`ExecSpec::strings`] refuses.
    pub fn encode(&self) -> Result<Vec<u8>, ExecSpecError> {
        self.strings()?;
        let json = serde_json::to_vec(self).map_err(|error| ExecSpecError::Malformed(error.to_string()))?;
        let too_long = ExecSpecError::TooLong { bytes: json.len() };
        if json.len() > EXEC_SPEC_MAX {
            return Err(too_long);
        }
        let length = u32::try_from(json.len()).map_err(|_too_big| too_long)?;
        Ok([length.to_le_bytes().as_slice(), &json].concat())
    }

    /// Reads the JSON of a specification (without the length).
    pub fn decode(json: &[u8]) -> Result<ExecSpec, ExecSpecError> {
        serde_json::from_slice(json).map_err(|error| ExecSpecError::Malformed(error.to_string()))
    }
}

fn c_string(bytes: Vec<u8>, field: impl Fn() -> String) -> Result<CString, ExecSpecError> {
    CString::new(bytes).map_err(|_nul| ExecSpecError::NulByte { field: field() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(argv: &[&str]) -> ExecSpec {
        ExecSpec {
            argv: argv.iter().map(|text| Text::from(*text)).collect(),
            env: vec![(Text::from("PATH"), Text::from("/a::/b"))],
            cwd: Text::from("/workspace"),
            runner_channel: RunnerChannel::Close,
        }
    }

    #[test]
    fn a_specification_survives_the_wire_with_bytes_that_are_not_utf8() {
        let mut spec = spec(&["echo"]);
        spec.argv.push(Text::from(vec![0xff, 0xfe]));
        let message = spec.encode().unwrap();
        let (length, json) = message.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_le_bytes(*length) as usize, json.len());
        assert_eq!(ExecSpec::decode(json).unwrap(), spec);
    }

    #[test]
    fn a_program_without_a_slash_is_looked_up_in_its_own_path() {
        let strings = spec(&["tool"]).strings().unwrap();
        assert_eq!(
            strings.candidates,
            [c"/a/tool", c"./tool", c"/b/tool"].map(CString::from)
        );
        assert_eq!(
            spec(&["./tool"]).strings().unwrap().candidates,
            [CString::from(c"./tool")]
        );
    }

    #[test]
    fn nul_bytes_are_refused_by_name() {
        let argument = spec(&["tool", "a\0b"]).encode().unwrap_err();
        assert_eq!(
            argument,
            ExecSpecError::NulByte {
                field: "argv[1]".to_owned()
            }
        );
        let mut with_env = spec(&["tool"]);
        with_env.env.push((Text::from("TOKEN"), Text::from("\0")));
        assert_eq!(
            with_env.encode().unwrap_err(),
            ExecSpecError::NulByte {
                field: "env[TOKEN]".to_owned()
            }
        );
    }

    #[test]
    fn a_missing_program_and_a_bad_variable_name_are_refused() {
        assert_eq!(spec(&[]).encode().unwrap_err(), ExecSpecError::NoProgram);
        assert_eq!(spec(&[""]).encode().unwrap_err(), ExecSpecError::EmptyProgram);
        let mut with_env = spec(&["tool"]);
        with_env.env.push((Text::from("A=B"), Text::from("")));
        assert_eq!(
            with_env.encode().unwrap_err(),
            ExecSpecError::EnvironmentName {
                field: "env[A=B]".to_owned()
            }
        );
    }

    #[test]
    fn unknown_fields_and_other_nonsense_are_malformed() {
        assert!(matches!(
            ExecSpec::decode(b"{}"),
            Err(ExecSpecError::Malformed(_))
        ));
        assert!(matches!(
            ExecSpec::decode(b"\xff"),
            Err(ExecSpecError::Malformed(_))
        ));
    }
}
