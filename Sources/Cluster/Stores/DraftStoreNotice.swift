package import Decoding

/// What an operator should know of a draft store. None of it keeps a process from working: a store
/// only makes drafts better.
package enum DraftStoreNotice: Equatable, Sendable {
  /// Its content is of no use; the next save moves it out of the way.
  case ignored(StoreError)
  /// It is none of ours, and stays as it is.
  case foreign
  /// Another process writes it; this one only reads.
  case inUse
  case unreadable(String)
  case unwritable(String)
  /// More was learned than a file holds; the oldest tenants' part was left out.
  case shortened(sections: Int)
}

extension DraftStoreNotice: CustomStringConvertible {
  package var description: String {
    switch self {
    case .ignored(let error): "\(error); ignored, and kept as .bad when a new one is saved"
    case .foreign: "\(StoreError.notAStore); nothing will be saved there"
    case .inUse: "another process uses it: this one reads it and saves nothing"
    case .unreadable(let reason): "it cannot be read: \(reason)"
    case .unwritable(let reason): "it cannot be saved: \(reason)"
    case .shortened(let count):
      "\(count) parts were left out to stay within \(StoreFormat.sizeMax) bytes"
    }
  }
}
