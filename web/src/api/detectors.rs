//! Detectors.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::ports::DetectorInfo;
use crate::state::WebState;

/// All detectors.
#[derive(Debug, Serialize)]
pub(crate) struct Detectors {
    items: Vec<DetectorInfo>,
}

pub(crate) async fn list(State(state): State<WebState>) -> Json<Detectors> {
    Json(Detectors { items: state.parts().detectors.detectors() })
}
