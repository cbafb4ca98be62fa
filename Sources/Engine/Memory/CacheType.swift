/// How keys or values are stored in the KV cache.
package enum CacheType: String, Sendable, CaseIterable {
  /// As computed.
  case f32
  /// Rounded to half precision: half the memory.
  case f16
  /// Int16, multiples of one step for each position and head: half the memory, and products that the
  /// kernels sum as integers.
  case i16
  /// Int8 with one scale for each 32 elements: about a quarter of the memory.
  // The name of the format, as everywhere else.
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q8_0
}

/// Storage of keys and of values.
package struct CacheTypes: Sendable, Equatable {
  package var keys: CacheType
  package var values: CacheType

  package init(keys: CacheType = .i16, values: CacheType = .i16) {
    self.keys = keys
    self.values = values
  }
}

/// Sizes of one block of the KV cache: 16 positions of all layers.
package struct BlockLayout: Sendable, Equatable {
  /// Positions of one block.
  package static let length = 16
  package let layerCount: Int
  /// Key/value heads.
  package let headCount: Int
  package let headLength: Int
  package let types: CacheTypes

  package init(layerCount: Int, headCount: Int, headLength: Int, types: CacheTypes) {
    self.layerCount = layerCount
    self.headCount = headCount
    self.headLength = headLength
    self.types = types
  }

  /// Bytes of the keys of one block of one head.
  var keyBytes: Int { types.keys.keyBytes(headLength: headLength) }
  /// Bytes of the values of one block of one head.
  var valueBytes: Int { types.values.valueBytes(headLength: headLength) }
  /// Bytes of one block.
  package var blockBytes: Int { layerCount * headCount * (keyBytes + valueBytes) }

  /// Blocks that `positionCount` positions take.
  package static func blocks(for positionCount: Int) -> Int {
    (positionCount + length - 1) / length
  }
}
