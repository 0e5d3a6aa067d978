//! Terminal code that `corecast` and `loadgen` share.
//!
//! | module | what it is for |
//! |---|---|
//! | [`describe`] | the subcommands `completions` and `man`, from a command line's definition |
//! | [`fit`] | screens of any size: columns and parts of a line are left out, words are not cut |

pub mod describe;
pub mod fit;
