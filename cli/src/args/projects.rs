//! The arguments of `tripline projects`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectsCommand {
    /// Create a project. Keys for it come from `keys create --project`.
    Create {
        /// Its id: 1 to 64 characters of a-z 0-9 - _.
        id: String,
        /// What people call it. Default: its id.
        #[arg(long)]
        name: Option<String>,
    },
    /// All projects, by id.
    List,
}
