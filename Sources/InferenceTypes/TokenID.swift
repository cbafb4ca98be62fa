/// Index of a token in the vocabulary of one model.
package struct TokenID: RawRepresentable, Hashable, Comparable, Sendable {
  package var rawValue: UInt32

  package init(rawValue: UInt32) { self.rawValue = rawValue }

  package init(_ value: UInt32) { rawValue = value }

  package static func < (left: TokenID, right: TokenID) -> Bool { left.rawValue < right.rawValue }
}

extension TokenID: ExpressibleByIntegerLiteral {
  package init(integerLiteral value: UInt32) { rawValue = value }
}

extension TokenID: CustomStringConvertible {
  package var description: String { String(rawValue) }
}

/// Name of a draft node, unique within one session and never reused.
///
/// 0 on the wire means "no node": a truth token that matched no draft.
package struct NodeID: RawRepresentable, Hashable, Comparable, Sendable {
  package var rawValue: UInt32

  package init(rawValue: UInt32) { self.rawValue = rawValue }

  package static let none = NodeID(rawValue: 0)

  package static func < (left: NodeID, right: NodeID) -> Bool { left.rawValue < right.rawValue }
}

extension NodeID: CustomStringConvertible {
  package var description: String { String(rawValue) }
}

/// Name of one generation, given by the router and unique in its lifetime.
package struct SessionID: RawRepresentable, Hashable, Comparable, Sendable {
  package var rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static func < (left: SessionID, right: SessionID) -> Bool {
    left.rawValue < right.rawValue
  }
}

extension SessionID: CustomStringConvertible {
  package var description: String { String(rawValue, radix: 16) }
}
