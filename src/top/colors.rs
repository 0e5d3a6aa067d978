//! The colours of a screen, readable on dark and light backgrounds.

use ratatui::style::Color;

/// For bars and lines.
pub(super) const ACCENT: Color = Color::Indexed(69);
/// For the text beside the figures.
pub(super) const DIM: Color = Color::Indexed(245);
/// For figures that need attention.
pub(super) const HIGH: Color = Color::Indexed(209);
