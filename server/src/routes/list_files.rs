//! The entries of a directory of a sandbox.

use axum::Extension;
use axum::extract::State;
use monocore_api::{ErrorBody, FileEntry, FileKind, FileList, ListFilesQuery};
use monocore_protocol::{LIST_FIELDS, Tool};

use super::Name;
use super::edits::{text, tool};
use crate::access::{Access, Scope};
use crate::api_server::ApiServer;
use crate::body::{Json, Query};
use crate::error::ApiError;
use crate::guard;

/// The most entries of an answer: names and targets of the longest kind fit into what is taken of a
/// tool's output.
const MOST_ENTRIES: u32 = 10_000;

/// Lists a directory of a sandbox, whether it runs or not. The image needs no program for that.
/// Needs the scope run.
#[utoipa::path(
    get, path = "/v1/sandboxes/{name}/files/list", tag = "sandboxes",
    params(("name" = String, Path), ListFilesQuery),
    responses((status = 200, body = FileList), (status = "default", body = ErrorBody))
)]
pub(super) async fn list_files(
    State(context): State<ApiServer>,
    Extension(Access(scope)): Extension<Access>,
    Name(name): Name,
    Query(query): Query<ListFilesQuery>,
) -> Result<Json<FileList>, ApiError> {
    // A sandbox that does not run is started for this.
    guard::require(scope, Scope::Run)?;
    if !query.path.starts_with('/') || query.path.contains('\0') {
        return Err(ApiError::value("path", "give an absolute path"));
    }
    let most = query.most.unwrap_or(MOST_ENTRIES);
    if most == 0 || most > MOST_ENTRIES {
        return Err(ApiError::value("most", format!("1 to {MOST_ENTRIES}")));
    }
    let list = Tool::List { path: query.path.as_bytes().into(), most };
    let told = tool(&context, name, list, false).await?;
    Ok(Json(read_list(&told, most)))
}

/// Reads what the guest says; what makes no sense is zero or passed over.
fn read_list(told: &[u8], most: u32) -> FileList {
    let mut fields = told.split(|byte| *byte == 0);
    let total = fields.next().and_then(|count| text(count).parse().ok()).unwrap_or(0);
    let fields: Vec<&[u8]> = fields.collect();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let entries: Vec<_> = fields.chunks_exact(LIST_FIELDS.len()).filter_map(entry).take(most).collect();
    let listed = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    FileList { total: listed.max(total), entries }
}

fn entry(fields: &[&[u8]]) -> Option<FileEntry> {
    let [kind, mode, size, modified, name, target] = fields else { return None };
    let kind = match *kind {
        b"f" => FileKind::File,
        b"d" => FileKind::Directory,
        b"l" => FileKind::Symlink,
        b"o" => FileKind::Other,
        _ => return None,
    };
    Some(FileEntry {
        name: text(name),
        kind,
        size_bytes: text(size).parse().unwrap_or(0),
        mode: u32::from_str_radix(&text(mode), 8).unwrap_or(0) & 0o7777,
        modified: text(modified).parse().unwrap_or(0),
        target: Some(text(target)).filter(|target| !target.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_nonsense_is_passed_over() {
        let fields = [
            "3", "f", "644", "12", "7", "a\nb", "", "x", "", "", "", "", "", "l", "777", "1", "60", "c", "d",
            "",
        ];
        let told = fields.join("\0");
        let list = read_list(told.as_bytes(), 9);
        assert_eq!((list.total, list.entries.len()), (3, 2));
        let [file, link] = &list.entries[..] else { panic!("{list:?}") };
        assert_eq!((file.name.as_str(), file.kind, file.size_bytes), ("a\nb", FileKind::File, 12));
        assert_eq!((file.mode, file.modified, &file.target), (0o644, 7, &None));
        assert_eq!((link.kind, link.target.as_deref()), (FileKind::Symlink, Some("d")));
        assert_eq!(read_list(told.as_bytes(), 1).entries.len(), 1);
        assert_eq!(read_list(b"\xff\0f\0", 9), FileList::default());
    }
}
