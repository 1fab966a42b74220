//! Whose trouble it is: this machine's and the agent's own, or the instance's. Only the second says
//! anything about the instance, and only the second ever ends one.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// Why an instance was not started, or gave no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The agent or its machine lacked something: a descriptor, memory, a port, room on a disk, or
    /// time. Nothing is known of the instance.
    #[error("this machine: {0}")]
    Local(String),
    /// The instance's own answer, or what became of its program.
    #[error("{0}")]
    Instance(String),
}

/// What a machine has run out of when a call fails so. None of it is about who was called.
const LACKS: [Errno; 10] = [
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOMEM,
    Errno::NOBUFS,
    Errno::AGAIN,
    Errno::ADDRNOTAVAIL,
    Errno::NOSPC,
    Errno::DQUOT,
    Errno::ROFS,
    Errno::IO,
];

/// Whether an error means that this machine or this process lacks something.
#[must_use]
pub fn is_local(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    number.is_some_and(|number| LACKS.contains(&number))
}

impl Trouble {
    /// What an error means for whoever met it while speaking with an instance, or while starting
    /// one. An error that another one was made from is looked at, too.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut innermost = error;
        let mut local = false;
        for error in causes(error) {
            local |= error.downcast_ref::<io::Error>().is_some_and(is_local);
            innermost = error;
        }
        if local {
            Self::Local(innermost.to_string())
        } else {
            Self::Instance(innermost.to_string())
        }
    }

    /// The same with what was tried before it.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        match self {
            Self::Local(reason) => Self::Local(format!("{what}: {reason}")),
            Self::Instance(reason) => Self::Instance(format!("{what}: {reason}")),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::of(&error)
    }
}

/// An error and what it was made from. An `io::Error` shows what is in it as its cause's cause
/// only.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        let within = error
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref())
            .map(|within| within as &(dyn Error + 'static));
        within.or_else(|| error.source())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(number: Errno) -> io::Error {
        io::Error::from_raw_os_error(number.raw_os_error())
    }

    #[test]
    fn what_the_machine_lacks_is_not_the_instances() {
        for number in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::ADDRNOTAVAIL,
            Errno::AGAIN,
        ] {
            let trouble = Trouble::from(raw(number));
            assert!(matches!(trouble, Trouble::Local(_)), "{trouble:?}");
        }
    }

    #[test]
    fn what_an_instance_does_is_its_own() {
        for number in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::NOENT,
            Errno::ACCESS,
            Errno::PIPE,
        ] {
            let trouble = Trouble::from(raw(number));
            assert!(matches!(trouble, Trouble::Instance(_)), "{trouble:?}");
        }
    }

    #[test]
    fn a_lack_is_found_however_deep_it_is() {
        #[derive(Debug, thiserror::Error)]
        #[error("the request failed")]
        struct Wrapped(#[source] io::Error);

        let deep = io::Error::other(Wrapped(io::Error::other(Wrapped(raw(Errno::MFILE)))));
        let trouble = Trouble::of(&deep);
        let Trouble::Local(reason) = trouble else {
            panic!("{trouble:?}");
        };
        assert!(reason.contains("Too many open files"), "{reason}");
    }
}
