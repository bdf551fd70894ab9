//! The engine broker of this crate's tests: `engine_broker CONFIG-JSON INIT-PROGRAM`, with the socket on standard input.

use brig_backend::docker::broker::{BrokerConfig, run};
use brig_jail::embedded::take_inherited_socket;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(config), Some(init)) = (args.next(), args.next()) else {
        return Err("usage: engine_broker CONFIG-JSON INIT-PROGRAM".into());
    };
    let config: BrokerConfig = serde_json::from_str(&config)?;
    run(config, take_inherited_socket()?, std::fs::read(init)?.leak())?;
    Ok(())
}
