//! Arguments of `mcp`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use monocore_mcp::AllowedPath;

#[derive(Debug, Args)]
pub(in crate::command) struct McpArgs {
    /// What agents may ask for: images, paths of the host, network, limits
    #[arg(long, value_name = "FILE")]
    pub(in crate::command) policy: Option<PathBuf>,
    /// Directory of the host that agents may copy from and mount; with `:rw` they may also write there
    #[arg(long, value_name = "DIRECTORY[:rw]", value_parser = parse_path)]
    pub(in crate::command) allow_path: Vec<AllowedPath>,
    /// Serve over HTTP at this address, path /mcp; another address than loopback needs TLS and a token
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(in crate::command) http: Option<SocketAddr>,
    /// PEM certificate chain
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "http"])]
    pub(in crate::command) tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls_cert", "http"])]
    pub(in crate::command) tls_key: Option<PathBuf>,
    /// Ask for a token on loopback, too
    #[arg(long, requires = "http")]
    pub(in crate::command) require_token: bool,
    /// Print a policy file with all keys and their defaults
    #[arg(long, exclusive = true)]
    pub(in crate::command) print_policy: bool,
}

fn parse_path(text: &str) -> Result<AllowedPath, String> {
    let (path, write) = match text.strip_suffix(":rw") {
        Some(path) => (path, true),
        None => (text.strip_suffix(":ro").unwrap_or(text), false),
    };
    let root = std::path::absolute(path).map_err(|error| error.to_string())?;
    Ok(AllowedPath { root, write })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_only_unless_they_say_so() {
        let read = |text: &str| parse_path(text).map(|path| (path.root.display().to_string(), path.write));
        assert_eq!(read("/a"), Ok(("/a".to_owned(), false)));
        assert_eq!(read("/a:ro"), Ok(("/a".to_owned(), false)));
        assert_eq!(read("/a:rw"), Ok(("/a".to_owned(), true)));
        assert!(read("a:rw").unwrap().0.starts_with('/') && read("").is_err());
    }
}
