//! The colours of a screen.

use ratatui::style::Color;

/// Of what is drawn, readable on a dark and on a light background.
pub(super) const ACCENT: Color = Color::Indexed(69);
/// Of what is said beside the figures.
pub(super) const DIM: Color = Color::Indexed(245);
/// Of figures that need somebody's attention.
pub(super) const HIGH: Color = Color::Indexed(209);
