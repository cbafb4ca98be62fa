/// What a path stands for.
enum Endpoint: Equatable {
  case chatCompletions
  case completions
  case models
  case model(id: String)
  case health
  case metrics
  case version
  case tokenize
  case detokenize

  /// The endpoint at a path; `nil` where there is none.
  init?(path: String) {
    switch path {
    case "/v1/chat/completions": self = .chatCompletions
    case "/v1/completions": self = .completions
    case "/v1/models": self = .models
    case "/health", "/v1/health": self = .health
    case "/metrics": self = .metrics
    case "/version": self = .version
    case "/tokenize": self = .tokenize
    case "/detokenize": self = .detokenize
    default:
      let prefix = "/v1/models/"
      guard path.hasPrefix(prefix), path.count > prefix.count else { return nil }
      self = .model(id: String(path.dropFirst(prefix.count)))
    }
  }

  var method: String {
    switch self {
    case .chatCompletions, .completions, .tokenize, .detokenize: "POST"
    case .models, .model, .health, .metrics, .version: "GET"
    }
  }

  /// Probes of load balancers carry no key.
  var isOpen: Bool { self == .health || self == .version }
}

extension Endpoint {
  /// The path with `%2F` and the like written out; what is no escape stays.
  static func decodingPercents(_ path: String) -> String {
    let bytes = Array(path.utf8)
    var decoded: [UInt8] = []
    var index = 0
    while index < bytes.count {
      if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count,
        let high = Character(Unicode.Scalar(bytes[index + 1])).hexDigitValue,
        let low = Character(Unicode.Scalar(bytes[index + 2])).hexDigitValue
      {
        decoded.append(UInt8(high << 4 | low))
        index += 3
      } else {
        decoded.append(bytes[index])
        index += 1
      }
    }
    return String(decoding: decoded, as: UTF8.self)
  }
}
