//! Whether the program that starts the service is one for the image's platform: a command that does
//! not look at `TARGETARCH` makes the same program for every platform, and that would be noticed
//! only where it does not start.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::driver::builder::files::{Source, open};
use crate::driver::builder::io;
use crate::model::Platform;
use crate::model::build::PackSpec;
use crate::port::builder::BuildError;

/// Refuses an entrypoint that is copied and is a program for another architecture.
pub(super) fn must_run_on(
    platform: &Platform,
    spec: &PackSpec,
    entries: &BTreeMap<PathBuf, Source>,
) -> Result<(), BuildError> {
    let Some(program) = spec.entrypoint.first() else {
        return Ok(());
    };

    let inside = Path::new(program)
        .strip_prefix("/")
        .unwrap_or(Path::new(program));
    let Some(Source::File(path)) = entries.get(inside) else {
        return Ok(());
    };

    let mut header = Vec::new();
    open(path)?
        .take(20)
        .read_to_end(&mut header)
        .map_err(io("reading", path))?;
    match architecture(&header) {
        Some(found) if found != platform.architecture() => Err(BuildError::Copy {
            path: path.clone(),
            reason: format!(
                "is a program for {found}, and the image is for {platform}: let `run` make it for \
                 $TARGETARCH"
            ),
        }),
        _ => Ok(()),
    }
}

/// The architecture in a program's header (ELF: `e_machine`, in the byte order that `EI_DATA`
/// tells); none for what is no program, or one for something that is not known here.
fn architecture(header: &[u8]) -> Option<&'static str> {
    let [0x7f, b'E', b'L', b'F', _, order, .., first, second] = header else {
        return None;
    };

    let machine = [*first, *second];
    let little = *order == 1;
    Some(
        match if little {
            u16::from_le_bytes(machine)
        } else {
            u16::from_be_bytes(machine)
        } {
            3 => "386",
            8 if little => "mips64le",
            21 if little => "ppc64le",
            22 => "s390x",
            40 => "arm",
            62 => "amd64",
            183 => "arm64",
            243 => "riscv64",
            258 => "loong64",
            _ => return None,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_what_it_is_for() {
        let header = |order: u8, machine: [u8; 2]| {
            let mut bytes = b"\x7fELF\x02".to_vec();
            bytes.push(order);
            bytes.resize(18, 0);
            bytes.extend(machine);
            bytes
        };
        assert_eq!(architecture(&header(1, [62, 0])), Some("amd64"));
        assert_eq!(architecture(&header(1, [183, 0])), Some("arm64"));
        assert_eq!(architecture(&header(2, [0, 22])), Some("s390x"));
        assert_eq!(architecture(&header(1, [255, 255])), None);
        assert_eq!(architecture(b"#!/bin/sh\necho I am a script\n"), None);
        assert_eq!(architecture(b""), None);
    }
}
