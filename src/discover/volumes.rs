//! Volumes of a container.

use crate::discover::proposal::ServiceProposal;

/// What a container has mounted.
pub(super) struct Mount<'a> {
    /// A folder, or a volume's name.
    pub from: &'a str,
    /// The path inside.
    pub inside: &'a str,
    pub is_read_only: bool,
}

/// Adds a mount to a service, or says why not.
pub(super) fn add(service: &mut ServiceProposal, mount: &Mount<'_>) {
    let Mount {
        from,
        inside,
        is_read_only,
    } = *mount;
    let of = format!("volume {from}:{inside}");
    let has_dots = |path: &str| path.split('/').any(|part| part == ".." || part == ".");
    let is_odd = |path: &str| path.contains(':') || path.chars().any(char::is_control);

    if from.starts_with(['.', '~']) {
        service.left_out(
            &of,
            "files of the project are no volume: `files:` mounts texts, and `build:` copies the \
             rest",
        );
    } else if is_read_only {
        service.left_out(&of, "it was read only, and a volume can be written here");
    } else if from.ends_with("docker.sock") {
        service.left_out(&of, "who has it is root on this machine");
    } else if from.is_empty() {
        service.left_out(&of, "a volume without a name is another one each time");
    } else if !inside.starts_with('/') || has_dots(inside) || has_dots(from) {
        service.left_out(&of, "it is no absolute path");
    } else if is_odd(inside) || is_odd(from) {
        service.left_out(&of, "such a path cannot be mounted");
    } else {
        service.volumes.insert(inside.to_owned(), from.to_owned());
    }
}
