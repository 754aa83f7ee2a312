//! Times vault operations on a folder: `drive init DIR`, `drive commit DIR`, `drive survey DIR`.
use std::path::Path;
use std::time::Instant;

use aios_vault::Vault;
use aios_vault::absorb::AbsorbOptions;
use aios_vault::create::NewVault;

fn main() -> Result<(), aios_vault::Error> {
    let args: Vec<String> = std::env::args().collect();
    let dir = Path::new(&args[2]);
    let start = Instant::now();
    let mut quiet = |_: &str, _, _| {};
    let mark = |what: &str| eprintln!("{:>8.1} ms  {what}", start.elapsed().as_secs_f64() * 1e3);
    match args[1].as_str() {
        "init" => {
            let (mut vault, absorbed) = Vault::create(dir, &NewVault::default(), &mut quiet)?;
            mark("created");
            let round = vault.finish(absorbed, &mut quiet)?;
            mark("finished");
            eprintln!("{:?}", round.head);
        }
        _ => {
            let mut vault = Vault::open(dir)?;
            mark("opened");
            let absorbed = vault.absorb(&AbsorbOptions::default(), &mut quiet)?;
            mark("absorbed");
            let round = vault.finish(absorbed, &mut quiet)?;
            mark("finished");
            eprintln!("{:?} {:?}", round.head, round.absorbed.changed.len());
        }
    }
    Ok(())
}
