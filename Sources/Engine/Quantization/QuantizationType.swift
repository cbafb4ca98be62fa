package import GGUF

/// What `slipstream quantize` makes of a model.
// The names of the formats, as everywhere else.
// swift-format-ignore: AlwaysUseLowerCamelCase
package enum QuantizationType: String, Sendable, CaseIterable {
  case q8_0 = "Q8_0"
  case q4_0 = "Q4_0"
  case q4_1 = "Q4_1"
  case q4_K = "Q4_K"
  /// Q4_K, and Q6_K for the matrices that feel rounding most.
  case q4_K_M = "Q4_K_M"
  case q6_K = "Q6_K"

  /// The type called `name`, in upper or lower case.
  ///
  /// - Throws: ``EngineError/unknownQuantizationType(_:supported:)``.
  package init(named name: String) throws(EngineError) {
    guard let type = Self(rawValue: name.uppercased()) else {
      throw .unknownQuantizationType(name, supported: Self.allCases.map(\.rawValue))
    }
    self = type
  }

  /// How most matrices are stored.
  package var tensorType: GGMLType {
    switch self {
    case .q8_0: .q8_0
    case .q4_0: .q4_0
    case .q4_1: .q4_1
    case .q4_K, .q4_K_M: .q4_K
    case .q6_K: .q6_K
    }
  }

  /// The number that `general.file_type` gives the type. Q4_K without a mixture has none; it is
  /// nearest to llama.cpp's Q4_K_S.
  var fileType: UInt32 {
    switch self {
    case .q4_0: 2
    case .q4_1: 3
    case .q8_0: 7
    case .q4_K: 14
    case .q4_K_M: 15
    case .q6_K: 18
    }
  }
}
