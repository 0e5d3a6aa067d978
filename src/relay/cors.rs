//! The headers that tell browsers which pages may read an answer (CORS, the Fetch standard).

use crate::wire::http::Response;

/// The headers of every answer, or none: then only pages of the relay's own origin may read it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cors(pub Option<CorsHeaders>);

/// The values of the headers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorsHeaders {
    /// `Access-Control-Allow-Origin`.
    pub origin: String,
    /// `Access-Control-Allow-Methods`.
    pub methods: String,
    /// `Access-Control-Allow-Headers`.
    pub headers: String,
}

impl Cors {
    /// Adds the headers to an answer.
    pub(crate) fn on(&self, response: Response) -> Response {
        let Some(cors) = &self.0 else {
            return response;
        };
        response
            .with_header("Access-Control-Allow-Origin", &cors.origin)
            .with_header("Access-Control-Allow-Methods", &cors.methods)
            .with_header("Access-Control-Allow-Headers", &cors.headers)
    }
}
