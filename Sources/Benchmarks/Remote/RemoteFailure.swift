/// Why a benchmark across processes cannot go on.
package struct RemoteFailure: Error, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}
