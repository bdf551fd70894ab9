//! The operator's configuration. Not hostile, but a mistake in it must be refused and never weaken anything.

use brig_daemon::config::{Config, ListenAddress, OPTIONAL_LAYERS};
use std::path::Path;

/// The text of a file.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let path = Path::new("brig.toml");
    match Config::parse(text, path) {
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a word"),
        Ok(config) => {
            let again = Config::parse(text, path).expect("the same text is accepted once and not twice");
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
            is_safe(&config);
        }
    }
}

fn is_safe(config: &Config) {
    for address in &config.listen {
        if let ListenAddress::Tcp(address) = address {
            assert!(address.ip().is_loopback(), "{address} is open to others");
        }
    }
    for layer in &config.optional_layers {
        assert!(OPTIONAL_LAYERS.contains(&layer.as_str()), "{layer} is optional");
    }
    assert_eq!(config.socket_mode & 0o7, 0, "everybody may connect");
    assert!((1..=1024).contains(&config.max_concurrent));
    let (most, usual) = (&config.limits.ceiling, &config.limits.default);
    assert!(usual.memory <= most.memory && usual.wall <= most.wall && usual.processes <= most.processes);
    assert!(config.host_image.python.is_absolute());
}
