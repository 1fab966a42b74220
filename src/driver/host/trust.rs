//! Whose an agent's socket on another machine is, from what is asked there. Pure.

use std::path::Path;

/// What is asked for a socket, `$s`: who asks, and the owner, group and mode of the socket and of
/// its folder, where links lead to as far as it is there. It fails where that cannot be looked at.
pub(super) const SCRIPT: &str = "set -e; id -u; id -g; for it in \"$s\" \"${s%/*}\"; do if test -e \
     \"$it\"; then stat -L -c '%u %g %a %U%n' -- \"$it\"; fi; done";

/// Why somebody else may have made the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Foreign {
    /// It, or its folder, is another user's.
    Owned {
        /// Which of both.
        path: String,
        /// Whose.
        by: String,
    },
    /// Others may write to its folder, and put another socket in its place.
    Open {
        /// The folder.
        path: String,
    },
}

/// Who else may have made the socket; nobody where it is that user's own or root's.
///
/// # Errors
/// The answer is none that the script gives.
pub(super) fn foreign(answer: &str) -> Result<Option<Foreign>, String> {
    let odd = || format!("`{}` is no answer", answer.trim());
    let mut lines = answer.lines();
    let mut id = || lines.next()?.trim().parse::<u32>().ok();
    let (own, group) = id().zip(id()).ok_or_else(odd)?;

    for line in lines {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().ok_or_else(odd);
        let (uid, gid, mode, names) = (word()?, word()?, word()?, word()?);
        // A user's name may have a blank, and never a slash, with which the path begins.
        let (by, path) = names.split_at(names.find('/').ok_or_else(odd)?);
        let uid: u32 = uid.parse().map_err(|_| odd())?;
        let gid: u32 = gid.parse().map_err(|_| odd())?;
        let mode = u32::from_str_radix(mode, 8).map_err(|_| odd())?;
        let path = path.to_owned();
        if uid != 0 && uid != own {
            let by = by.to_owned();
            return Ok(Some(Foreign::Owned { path, by }));
        }
        // The socket's own mode says who may connect.
        let is_folder = Path::new(&path).extension().is_none_or(|it| it != "sock");
        let is_open = mode & 0o002 != 0 || (mode & 0o020 != 0 && gid != group && gid != 0);
        if is_folder && is_open {
            return Ok(Some(Foreign::Open { path }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_somebody_else_may_have_made_is_foreign() {
        let (socket, folder) = ("/srv/a b/agent.sock", "/srv/a b");
        let of = |of_socket: &str, of_folder: &str| {
            foreign(&format!(
                "1000\n1000\n{of_socket}{socket}\n{of_folder}{folder}\n"
            ))
        };
        for good in ["1000 1000 700 kim", "0 0 755 root", "1000 1000 775 kim"] {
            assert_eq!(of("1000 1000 600 kim", good), Ok(None), "{good}");
        }
        assert_eq!(foreign("1000\n1000\n"), Ok(None), "there is none");

        let owned = |path: &str| Foreign::Owned {
            path: path.to_owned(),
            by: "SHOP\\eve b".to_owned(),
        };
        let theirs = "1001 1001 700 SHOP\\eve b";
        assert_eq!(of(theirs, "0 0 755 root"), Ok(Some(owned(socket))));
        assert_eq!(of("0 0 600 root", theirs), Ok(Some(owned(folder))));
        for open in ["1000 1000 777 kim", "1000 50 775 kim"] {
            let path = folder.to_owned();
            let answer = of("1000 1000 600 kim", open);
            assert_eq!(answer, Ok(Some(Foreign::Open { path })), "{open}");
        }
        for odd in ["", "1000\n", "1000\n1000\nstat: no\n", "x\ny\n"] {
            assert!(foreign(odd).is_err(), "{odd:?}");
        }
    }
}
