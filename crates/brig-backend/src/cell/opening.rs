//! Everything that goes to a cell at its start, in the order in which it is read: ExecSpec, runner, program.

use super::Interpreter;
use crate::runner::frame::{JobFrame, JobMode, encode_job};
use crate::runner::{BOOT, VALUE_MAX};
use brig_core::backend::{BackendError, Start};
use brig_jail::exec_spec::{ExecSpec, ExecSpecError, RunnerChannel, Text};

const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The documented environment of every program; a job's own entries come on top.
const BASE_ENV: [(&str, &str); 5] = [
    ("HOME", "/workspace"),
    ("LANG", "C.UTF-8"),
    ("LOGNAME", "agent"),
    ("PATH", SYSTEM_PATH),
    ("USER", "agent"),
];
/// Where programs start.
const WORKSPACE: &str = "/workspace";

/// The bytes for the job channel.
pub(super) fn opening(
    interpreter: &Interpreter,
    start: &Start,
    env: &[(String, String)],
) -> Result<Vec<u8>, BackendError> {
    let (argv, runner_channel) = match start {
        Start::Python { .. } => {
            let argv = [interpreter.python.as_str(), "-c", BOOT].map(Text::from).to_vec();
            (argv, RunnerChannel::Keep)
        }
        Start::Command { argv } => (
            argv.iter().map(|part| Text::from(part.as_str())).collect(),
            RunnerChannel::Close,
        ),
    };
    let spec = ExecSpec {
        argv,
        env: environment(interpreter, env),
        cwd: Text::from(WORKSPACE),
        runner_channel,
    };
    let mut bytes = spec.encode().map_err(|error| spec_error(&error))?;
    if let Start::Python { code, file, args } = start {
        bytes.extend_from_slice(&interpreter.runner);
        bytes.extend(encode_job(&JobFrame {
            mode: if file.is_some() {
                JobMode::File
            } else {
                JobMode::Code
            },
            value_max: VALUE_MAX,
            name: file.as_ref().map_or("", |path| path.as_str()),
            args,
            source: code,
        }));
    }
    Ok(bytes)
}

/// The base environment, over it the image's entries, over those the job's own; each name once.
fn environment(interpreter: &Interpreter, own: &[(String, String)]) -> Vec<(Text, Text)> {
    let image = &interpreter.env;
    let named = |list: &[(String, String)], name: &str| list.iter().any(|(other, _)| other == name);
    let base = BASE_ENV
        .iter()
        .filter(|(name, _)| !named(own, name) && !named(image, name));
    let base = base.map(|&(name, value)| match (name, beside(&interpreter.python)) {
        ("PATH", Some(bin)) => (Text::from(name), Text::from(format!("{bin}:{value}").as_str())),
        _ => (Text::from(name), Text::from(value)),
    });
    let image = image.iter().filter(|(name, _)| !named(own, name)).chain(own);
    base.chain(image.map(|(name, value)| (Text::from(name.as_str()), Text::from(value.as_str()))))
        .collect()
}

/// The directory of an interpreter that is not the system's: a virtual environment's programs (`pip`, `pytest`) come
/// first for commands too, as where it was activated.
fn beside(python: &str) -> Option<&str> {
    let (bin, _name) = python.rsplit_once('/')?;
    (!SYSTEM_PATH.split(':').any(|place| place == bin)).then_some(bin)
}

fn spec_error(error: &ExecSpecError) -> BackendError {
    BackendError::Setup {
        stage: "spec".to_owned(),
        item: error.to_string(),
        errno: 0,
        remedy: "shorten or correct the arguments and environment".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(python: &str, env: &[(&str, &str)]) -> Interpreter {
        Interpreter {
            image: "python".to_owned(),
            python: python.to_owned(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            runner: [].into(),
            remedy: "",
        }
    }

    #[test]
    fn an_images_entry_stands_between_the_base_and_the_jobs_own() {
        let own = [("A".to_owned(), "job".to_owned())];
        let env = environment(
            &image("/usr/bin/python3", &[("A", "image"), ("LANG", "C"), ("B", "2")]),
            &own,
        );
        let value = |wanted: &str| {
            let all: Vec<_> = env
                .iter()
                .filter(|(name, _)| name.as_bytes() == wanted.as_bytes())
                .collect();
            assert_eq!(all.len(), 1, "{wanted}");
            all[0].1.clone()
        };
        assert_eq!(["A", "LANG", "B"].map(value), ["job", "C", "2"].map(Text::from));
    }

    #[test]
    fn a_jobs_own_entry_takes_the_place_of_the_base_one() {
        let own = [
            ("PATH".to_owned(), "/x".to_owned()),
            ("A".to_owned(), "1".to_owned()),
        ];
        let env = environment(&image("/usr/bin/python3", &[]), &own);
        let paths: Vec<_> = env
            .iter()
            .filter(|(name, _)| name.as_bytes() == b"PATH")
            .collect();
        assert_eq!(paths, [&(Text::from("PATH"), Text::from("/x"))]);
        assert_eq!(env.len(), BASE_ENV.len() + 1);
    }

    #[test]
    fn programs_beside_an_environments_interpreter_come_first() {
        let path = |python| {
            let env = environment(&image(python, &[]), &[]);
            env.into_iter().find(|(name, _)| name.as_bytes() == b"PATH")
        };
        let expected = Text::from("/srv/venv/bin:/usr/local/bin:/usr/bin:/bin");
        assert_eq!(
            path("/srv/venv/bin/python3"),
            Some((Text::from("PATH"), expected))
        );
        assert_eq!(
            path("/usr/bin/python3"),
            Some((Text::from("PATH"), Text::from(SYSTEM_PATH)))
        );
    }
}
