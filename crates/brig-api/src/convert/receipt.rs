//! The isolation receipt.

use super::field::{At, InvalidFields, each, known, unspecified};
use crate::pb;
use brig_core::receipt::{Layer, LayerState, Receipt};

impl From<&Receipt> for pb::Receipt {
    fn from(receipt: &Receipt) -> Self {
        let Receipt {
            backend,
            level,
            image,
            cell,
            layers,
        } = receipt;
        Self {
            backend: backend.clone(),
            level: level.clone(),
            image: image.clone(),
            cell: cell.clone(),
            layers: layers.iter().map(pb::Layer::from).collect(),
        }
    }
}

impl TryFrom<pb::Receipt> for Receipt {
    type Error = InvalidFields;

    fn try_from(wire: pb::Receipt) -> Result<Self, InvalidFields> {
        let pb::Receipt {
            backend,
            level,
            image,
            cell,
            layers,
        } = wire;
        Ok(Self {
            backend,
            level,
            image,
            cell,
            layers: each(layers).at("layers")?,
        })
    }
}

impl From<&Layer> for pb::Layer {
    fn from(layer: &Layer) -> Self {
        let Layer { name, state, detail } = layer;
        let state = match state {
            LayerState::Active => pb::LayerState::Active,
            LayerState::Partial => pb::LayerState::Partial,
            LayerState::Missing => pb::LayerState::Missing,
        };
        Self {
            name: name.clone(),
            state: state.into(),
            detail: detail.clone(),
        }
    }
}

impl TryFrom<pb::Layer> for Layer {
    type Error = InvalidFields;

    fn try_from(wire: pb::Layer) -> Result<Self, InvalidFields> {
        let pb::Layer { name, state, detail } = wire;
        let state = match known(state).at("state")? {
            pb::LayerState::Unspecified => unspecified().at("state")?,
            pb::LayerState::Active => LayerState::Active,
            pb::LayerState::Partial => LayerState::Partial,
            pb::LayerState::Missing => LayerState::Missing,
        };
        Ok(Self { name, state, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_receipt_survives_the_wire(receipt in samples::receipt()) {
            prop_assert_eq!(Receipt::try_from(pb::Receipt::from(&receipt)), Ok(receipt));
        }
    }

    #[test]
    fn a_layer_without_a_state_is_named() {
        let layers = vec![pb::Layer {
            name: "seccomp".into(),
            state: 0,
            detail: String::new(),
        }];
        let invalid = Receipt::try_from(pb::Receipt {
            layers,
            ..pb::Receipt::default()
        })
        .unwrap_err();
        assert_eq!(invalid.0[0].field, "layers[0].state");
    }
}
