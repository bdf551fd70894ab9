//! The keeper of this crate's tests: `backend_keeper CONFIG-JSON INIT-PROGRAM`, with the socket on standard input.

use brig_jail::embedded::take_inherited_socket;
use brig_jail::keeper::{KeeperConfig, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(config), Some(init)) = (args.next(), args.next()) else {
        return Err("usage: backend_keeper CONFIG-JSON INIT-PROGRAM".into());
    };
    let mut config: KeeperConfig = serde_json::from_str(&config)?;
    config.init_image = std::fs::read(init)?.into();
    run(&config, take_inherited_socket()?, None)?;
    Ok(())
}
