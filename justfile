# `just` without arguments lists these.
default:
    @just --list

# Build the program as it is shipped.
build:
    cargo build --release

# The first result: a program in a full jail.
hello:
    cargo run --release -- run examples/hello.py

# All tests; `just test --long` adds the soak and the long crash runs.
test *ARGUMENTS:
    ./tests/run {{ARGUMENTS}}

# One check of the corpus, by a part of its name: `just check P-01`.
check NAME:
    cargo test -p brig-tests --test corpus -- "{{NAME}}"

# What CI does.
ci:
    ./.ci/run

# Format, then lint.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Banned dependencies, licences, sources.
deny:
    cargo deny check bans licenses sources

# Speed on this machine, in the release build.
bench *ARGUMENTS:
    cargo run --release -- bench {{ARGUMENTS}}
