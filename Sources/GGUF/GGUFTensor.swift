/// Where one tensor lies in a file and how it is shaped.
package struct GGUFTensor: Sendable, Equatable {
  /// Unique in the file.
  package let name: String
  /// One to four sizes, each at least 1. `dimensions[0]` is the fastest: the length of a row.
  package let dimensions: [Int]
  /// How the elements are stored.
  package let type: GGMLType
  /// From the start of the file, in bytes; a multiple of the file's alignment.
  package let byteOffset: Int
  /// Bytes of all rows; these are inside the file.
  package let byteCount: Int

  /// Number of elements in all rows.
  package var elementCount: Int { dimensions.reduce(1, *) }

  /// Number of rows of `dimensions[0]` elements.
  package var rowCount: Int { dimensions.dropFirst().reduce(1, *) }

  /// Bytes of one row; rows follow each other without gaps.
  package var rowBytes: Int { byteCount / rowCount }
}
