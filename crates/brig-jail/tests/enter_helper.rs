//! The enter-helper against a workspace that a program has prepared for it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "a test"
)]

mod cell;

#[cfg(test)]
mod tests {
    use super::cell::{Cell, plan, spec};
    use brig_jail::control::ToInit;
    use brig_jail::files::{
        CellPath, CollectLimits, EntryKind, FileMode, FileReply, FileRequest, FrameReader, SkipReason,
    };
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::process::{Child, Command, Stdio};

    struct Helper {
        socket: File,
        reader: FrameReader,
        process: Child,
    }

    impl Helper {
        /// In the cell's user namespace, with the cell's uid and without any capability.
        fn start(workspace: OwnedFd, user_namespace: OwnedFd) -> Helper {
            let (ours, theirs) = socketpair(
                AddressFamily::Unix,
                SockType::Stream,
                None,
                SockFlag::SOCK_CLOEXEC,
            )
            .unwrap();
            #[expect(clippy::disallowed_methods, reason = "a test starts the program under test")]
            let process = Command::new("/bin/sh")
                .arg("-c")
                .arg(
                    "exec nsenter --user=/proc/self/fd/2 --preserve-credentials -- \"$0\" --enter \
                     3<&0 4<&1 </dev/null >/dev/null",
                )
                .arg(env!("CARGO_BIN_EXE_brig-jail-init"))
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .stdin(Stdio::from(theirs))
                .stdout(Stdio::from(workspace))
                .stderr(Stdio::from(user_namespace))
                .spawn()
                .unwrap();
            let mut helper = Helper {
                socket: ours.into(),
                reader: FrameReader::new(),
                process,
            };
            assert_eq!(helper.hear(), FileReply::Ready);
            helper
        }

        fn say(&mut self, request: &FileRequest) {
            self.socket.write_all(&request.encode()).unwrap();
        }

        fn hear(&mut self) -> FileReply {
            loop {
                if let Some(frame) = self.reader.next_frame().unwrap() {
                    return FileReply::decode(&frame).unwrap();
                }
                let mut buffer = [0; 8192];
                let length = self.socket.read(&mut buffer).unwrap();
                assert_ne!(length, 0, "the helper is gone");
                self.reader.push(&buffer[..length]);
            }
        }

        fn ask(&mut self, request: &FileRequest) -> FileReply {
            self.say(request);
            self.hear()
        }

        fn put(&mut self, name: &str, content: &[u8]) -> FileReply {
            let size = content.len() as u64;
            self.say(&FileRequest::Put {
                path: path(name),
                size,
                mode: FileMode::Plain,
            });
            for part in content.chunks(100_000) {
                self.say(&FileRequest::Data(part.to_vec()));
            }
            self.hear()
        }

        fn get(&mut self, name: &str, max_bytes: u64) -> Result<(Vec<u8>, bool), FileReply> {
            self.say(&FileRequest::Get {
                path: path(name),
                max_bytes,
            });
            match self.hear() {
                FileReply::FileStart { .. } => {}
                other => return Err(other),
            }
            let got = self.content();
            assert_eq!(self.hear(), FileReply::Done);
            Ok(got)
        }

        fn content(&mut self) -> (Vec<u8>, bool) {
            let mut content = Vec::new();
            loop {
                match self.hear() {
                    FileReply::Data(part) => content.extend(part),
                    FileReply::FileEnd { bytes, truncated } => {
                        assert_eq!(bytes, content.len() as u64);
                        return (content, truncated);
                    }
                    other => panic!("{other:?} inside a file"),
                }
            }
        }

        fn collect(&mut self, patterns: &[&str], limits: CollectLimits) -> Collected {
            let patterns = patterns.iter().map(|one| one.as_bytes().to_vec()).collect();
            self.say(&FileRequest::Collect { patterns, limits });
            let mut collected = Collected::default();
            loop {
                match self.hear() {
                    FileReply::FileStart { path, .. } => {
                        let (content, _) = self.content();
                        collected.files.insert(path, content);
                    }
                    FileReply::Skipped { path, reason } => {
                        collected.skipped.insert(path, reason);
                    }
                    FileReply::Finished { truncated, .. } => {
                        collected.truncated = truncated;
                        return collected;
                    }
                    other => panic!("{other:?} in a collection"),
                }
            }
        }
    }

    impl Drop for Helper {
        fn drop(&mut self) {
            self.process.kill().ok();
            self.process.wait().ok();
        }
    }

    #[derive(Debug, Default)]
    struct Collected {
        files: BTreeMap<Vec<u8>, Vec<u8>>,
        skipped: BTreeMap<Vec<u8>, SkipReason>,
        truncated: bool,
    }

    fn path(text: &str) -> CellPath {
        CellPath::new(text.as_bytes()).unwrap()
    }

    const LIMITS: CollectLimits = CollectLimits {
        files: 100,
        file_bytes: 1 << 20,
        total_bytes: 4 << 20,
        depth: 8,
        entries: 1000,
        millis: 5000,
    };

    /// A cell in which a script has run and which is dead by now, and a helper in its workspace.
    fn after(script: &str) -> Helper {
        let mut cell = Cell::build(&plan());
        cell.init.say(ToInit::Start {
            wall_nanos: 10_000_000_000,
            lease_until_nanos: 0,
        });
        cell.execute(&spec(&["/bin/sh", "-c", script]));
        let workspace = nix::unistd::dup(&cell.workspace).unwrap();
        let user_namespace = nix::unistd::dup(&cell.user_namespace).unwrap();
        let ran = cell.finish();
        assert_eq!(ran.exit_code(), Some(0), "{ran:?}");
        Helper::start(workspace, user_namespace)
    }

    #[test]
    fn files_go_in_and_come_out_unchanged_also_after_the_cell_has_died() {
        let mut helper = after("true");
        let content: Vec<u8> = (0..700_001u32).map(|one| one.to_le_bytes()[0]).collect();
        assert_eq!(helper.put("deep/er/data.bin", &content), FileReply::Done);
        assert_eq!(helper.put("empty", b""), FileReply::Done);
        assert_eq!(
            helper.get("deep/er/data.bin", u64::MAX),
            Ok((content.clone(), false))
        );
        assert_eq!(
            helper.get("deep/er/data.bin", 10),
            Ok((content[..10].to_vec(), true))
        );
        assert_eq!(helper.get("empty", 10), Ok((Vec::new(), false)));
        assert_eq!(
            helper.get("missing", 10),
            Err(FileReply::Failed { errno: libc::ENOENT })
        );
    }

    #[test]
    fn links_pipes_and_files_with_two_names_are_never_opened() {
        let mut helper = after(
            "ln -s /etc/passwd link; mkfifo pipe; echo x > two; ln two names; mkdir sub; ln -s / sub/root; \
             echo fine > sub/fine; ln -s sub dirlink",
        );
        let collected = helper.collect(&["**"], LIMITS);
        assert_eq!(
            collected.files,
            BTreeMap::from([(b"sub/fine".to_vec(), b"fine\n".to_vec())])
        );
        let skipped: Vec<(&[u8], SkipReason)> = collected
            .skipped
            .iter()
            .map(|(path, reason)| (path.as_slice(), *reason))
            .collect();
        assert_eq!(
            skipped,
            [
                (&b"dirlink"[..], SkipReason::NotARegularFile),
                (b"link", SkipReason::NotARegularFile),
                (b"names", SkipReason::SeveralLinks),
                (b"pipe", SkipReason::NotARegularFile),
                (b"sub/root", SkipReason::NotARegularFile),
                (b"two", SkipReason::SeveralLinks),
            ]
        );
        let refused = FileReply::Refused {
            reason: SkipReason::NotARegularFile,
        };
        assert_eq!(helper.get("link", 10), Err(refused));
        let through = helper.get("sub/root/etc/passwd", 10);
        assert_eq!(through, Err(FileReply::Failed { errno: libc::ELOOP }));
    }

    #[test]
    fn a_name_that_is_replaced_is_a_new_file_and_what_it_linked_to_stays() {
        let mut helper = after("echo old > target; ln -s target link; ln target second; mkdir dir");
        assert_eq!(helper.put("link", b"new"), FileReply::Done);
        assert_eq!(helper.put("second", b"new"), FileReply::Done);
        assert_eq!(helper.get("target", 10), Ok((b"old\n".to_vec(), false)));
        assert_eq!(helper.get("link", 10), Ok((b"new".to_vec(), false)));
        assert_eq!(helper.put("dir", b"x"), FileReply::Failed { errno: libc::EISDIR });
        assert_eq!(helper.get("target", 10), Ok((b"old\n".to_vec(), false)));
    }

    #[test]
    fn limits_of_a_collection_skip_with_a_reason() {
        let mut helper = after(
            "head -c 2000000 /dev/zero > big; echo 1 > a; echo 2 > b; mkdir -p d/e/f; echo 3 > d/e/f/deep; \
             truncate -s 1T sparse 2>/dev/null || true",
        );
        let limits = CollectLimits {
            files: 1,
            depth: 2,
            ..LIMITS
        };
        let collected = helper.collect(&["**"], limits);
        assert_eq!(collected.files.len(), 1);
        assert_eq!(collected.skipped.get(&b"b"[..]), Some(&SkipReason::TooMany));
        assert_eq!(collected.skipped.get(&b"big"[..]), Some(&SkipReason::TooLarge));
        assert_eq!(collected.skipped.get(&b"d/e/f"[..]), Some(&SkipReason::TooDeep));
        let total = CollectLimits {
            total_bytes: 3,
            ..LIMITS
        };
        let collected = helper.collect(&["a", "b"], total);
        assert_eq!(collected.skipped.get(&b"b"[..]), Some(&SkipReason::TotalTooLarge));
        let entries = CollectLimits { entries: 2, ..LIMITS };
        assert!(helper.collect(&["**"], entries).truncated);
    }

    #[test]
    fn hostile_names_come_out_as_bytes() {
        let mut helper =
            after("printf x > \"$(printf 'a\\033[31m\\n\\377b')\"; printf y > '-rf'; printf z > ' '");
        let collected = helper.collect(&["*"], LIMITS);
        let names: Vec<&[u8]> = collected.files.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [&b" "[..], b"-rf", b"a\x1b[31m\n\xffb"]);
    }

    #[test]
    fn a_full_workspace_is_told_and_the_next_request_works() {
        let mut helper = after("true");
        let reply = helper.put("large", &vec![1; 17 << 20]);
        assert_eq!(reply, FileReply::Failed { errno: libc::ENOSPC });
        assert_eq!(
            helper.get("large", 1),
            Err(FileReply::Failed { errno: libc::ENOENT })
        );
        assert_eq!(helper.put("small", b"x"), FileReply::Done);
    }

    #[test]
    fn directories_are_listed_described_and_removed() {
        let mut helper = after("mkdir -p d/x/y; echo 1 > d/x/y/f; ln -s /etc d/x/link; chmod 700 d");
        assert_eq!(
            helper.ask(&FileRequest::Mkdir {
                path: path("new/dir")
            }),
            FileReply::Done
        );
        helper.say(&FileRequest::List {
            path: None,
            max_entries: 10,
        });
        let mut names = Vec::new();
        while let FileReply::Entry(entry) = helper.hear() {
            assert_eq!(entry.kind, EntryKind::Directory);
            names.push(entry.path);
        }
        assert_eq!(names, [b"d".to_vec(), b"new".to_vec()]);
        let FileReply::Entry(entry) = helper.ask(&FileRequest::Stat {
            path: path("d/x/link"),
        }) else {
            panic!("no entry")
        };
        assert_eq!(entry.kind, EntryKind::Link);
        assert_eq!(helper.hear(), FileReply::Done);
        assert_eq!(
            helper.ask(&FileRequest::Remove { path: path("d") }),
            FileReply::Done
        );
        let gone = helper.ask(&FileRequest::Stat { path: path("d") });
        assert_eq!(gone, FileReply::Failed { errno: libc::ENOENT });
    }

    #[test]
    fn the_helper_is_filtered_and_without_privilege() {
        let helper = after("true");
        let pid = helper.process.id();
        // nsenter executes the helper in place, so this is the helper itself.
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
            assert!(status.contains(line), "{line} in {status}");
        }
    }

    #[test]
    fn a_daemon_that_speaks_nonsense_ends_the_helper() {
        let mut helper = after("true");
        helper.socket.write_all(&[0xff; 64]).unwrap();
        let mut rest = Vec::new();
        helper.socket.read_to_end(&mut rest).ok();
        assert!(rest.is_empty());
        assert!(helper.process.wait().unwrap().success());
    }
}
