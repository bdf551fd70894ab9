//! The isolation receipt.

use brig_core::receipt::{LayerState, Receipt};
use serde::Serialize;

/// A receipt, also as `doctor` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct ReceiptReport {
    backend: String,
    level: String,
    image: String,
    cell: String,
    layers: Vec<LayerReport>,
}

#[derive(Debug, Serialize)]
struct LayerReport {
    name: String,
    active: bool,
    state: &'static str,
    detail: String,
}

impl ReceiptReport {
    /// The receipt in the words of the interface.
    pub(crate) fn of(receipt: &Receipt) -> Self {
        let Receipt {
            backend,
            level,
            image,
            cell,
            layers,
        } = receipt;
        let layers = layers.iter().map(|layer| LayerReport {
            name: layer.name.clone(),
            active: layer.state != LayerState::Missing,
            state: layer_word(layer.state),
            detail: layer.detail.clone(),
        });
        Self {
            backend: backend.clone(),
            level: level.clone(),
            image: image.clone(),
            cell: cell.clone(),
            layers: layers.collect(),
        }
    }
}

/// The word for a layer's state.
pub(crate) fn layer_word(state: LayerState) -> &'static str {
    match state {
        LayerState::Active => "active",
        LayerState::Partial => "partial",
        LayerState::Missing => "missing",
    }
}
