//! Archives that are larger than they say, in every way that there is.

use super::*;

const LIMITS: Limits = Limits {
    bytes: 4 << 20,
    entries: 10,
    within: Duration::from_mins(1),
};

/// What reading an archive to its end comes to.
fn read(archive: impl Read) -> Result<Vec<String>, Option<Exceeded>> {
    let mut names = Vec::new();
    each(archive, &Budget::new(LIMITS), |member| {
        names.push(member.path.display().to_string());
        Ok::<(), io::Error>(())
    })
    .map_err(|error| Exceeded::of(&error))?;
    Ok(names)
}

fn header(kind: EntryType, name: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).expect("a name");
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_cksum();
    header
}

#[test]
fn an_archive_within_its_budget_is_read_whole() {
    let mut tar = tar::Builder::new(Vec::new());
    let global = b"20 comment=something\n";
    let mut pax = header(EntryType::XGlobalHeader, "pax_global_header", 21);
    tar.append_data(&mut pax, "pax_global_header", &global[..])
        .expect("records");
    for name in ["a", &"long/".repeat(60)] {
        let mut entry = header(EntryType::Regular, "x", 3);
        tar.append_data(&mut entry, name, &b"abc"[..])
            .expect("an entry");
    }
    let names = read(&*tar.into_inner().expect("a tar")).expect("it is read");
    assert_eq!(names, ["a".to_owned(), "long/".repeat(60)]);
}

#[test]
fn more_bytes_entries_or_time_than_allowed_are_refused() {
    let zeros = header(EntryType::Regular, "zeros", 1 << 40);
    let endless = zeros.as_bytes().chain(io::repeat(0));
    assert_eq!(read(endless), Err(Some(Exceeded::Bytes(LIMITS.bytes))));

    let many = header(EntryType::Regular, "one", 0).as_bytes().repeat(11);
    assert_eq!(read(&*many), Err(Some(Exceeded::Entries(10))));

    let late = Limits {
        within: Duration::ZERO,
        ..LIMITS
    };
    let budget = Budget::new(late);
    let one = header(EntryType::Regular, "one", 0);
    let read = each(&one.as_bytes()[..], &budget, |_| Ok::<(), io::Error>(()));
    let exceeded = read.map_err(|error| Exceeded::of(&error));
    assert_eq!(exceeded, Err(Some(Exceeded::Time(Duration::ZERO))));
}

#[test]
fn a_name_or_record_of_any_length_does_not_fill_the_memory() {
    for kind in [
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
    ] {
        let heading = header(kind, "././@LongLink", 1 << 40);
        let endless = heading.as_bytes().chain(io::repeat(b'a'));
        assert_eq!(read(endless), Err(Some(Exceeded::Heading)), "{kind:?}");
    }
}

#[test]
fn holes_count_as_what_they_become() {
    let mut sparse = header(EntryType::GNUSparse, "holes", 0);
    let gnu = sparse.as_gnu_mut().expect("a GNU header");
    gnu.set_real_size(1 << 40);
    gnu.sparse[0].set_offset(1 << 40);
    gnu.sparse[0].set_length(0);
    sparse.set_cksum();
    assert_eq!(
        read(&sparse.as_bytes()[..]),
        Err(Some(Exceeded::Bytes(LIMITS.bytes)))
    );
}

#[test]
fn a_sparse_file_of_posix_is_refused_and_not_taken_for_its_map() {
    let mut tar = tar::Builder::new(Vec::new());
    let records = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.name", b"holes"),
    ];
    tar.append_pax_extensions(records).expect("records");
    let mut entry = header(EntryType::Regular, "x", 3);
    tar.append_data(&mut entry, "GNUSparseFile.0/holes", &b"1\n0"[..])
        .expect("an entry");
    let bytes = tar.into_inner().expect("a tar");
    let visited = each(&*bytes, &Budget::new(LIMITS), |_| Ok::<(), io::Error>(()));
    let error = visited.expect_err("refused").to_string();
    assert!(
        error.contains("GNUSparseFile.0/holes is a sparse file"),
        "{error}"
    );
}
