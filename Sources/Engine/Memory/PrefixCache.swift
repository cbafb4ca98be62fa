package import InferenceTypes

/// Keys and values of texts seen before, by their tokens, so that a prompt that begins like one of
/// them need not be computed again.
///
/// A trie of full blocks: an entry is found by its parent and its own 16 tokens, both compared in
/// full, so a hit is the same text. Keys and values of a position depend on the tokens up to it
/// alone, bit by bit, so a hit changes no logits (the float backend makes no such promise). Entries
/// hold their block by reference count; the least recently used leave when the pool needs room,
/// never those that a sequence uses.
package final class PrefixCache {
  /// What happened so far.
  package struct Statistics: Sendable, Equatable {
    /// Prompts looked up.
    package var lookups = 0
    /// Prompts of which at least one block was found.
    package var hits = 0
    /// Positions that were found.
    package var cachedTokens = 0
    /// Blocks given back to the pool.
    package var evictions = 0
  }

  package private(set) var statistics = Statistics()
  /// Blocks held.
  package var blockCount: Int { places.count }
  private let pool: KVPool
  /// Where the entry of each key is.
  private var places: [Key: Int] = [:]
  private var entries: [Entry] = []
  /// Places of `entries` that hold none.
  private var vacant: [Int] = []
  private var nextIdentity = 1
  /// Ends of the list of entries by their latest use; -1 where it is empty.
  private var newest = -1
  private var oldest = -1

  /// The 16 tokens of a block after a parent, 0 for the start of a text.
  private struct Key: Hashable {
    var parent: Int
    var tokens: SIMD16<UInt32>
  }

  private struct Entry {
    var key: Key
    /// Never used twice, so that no child is found under another parent.
    var identity: Int
    var block: Int
    /// Place of the parent, or -1.
    var parent: Int
    var childCount = 0
    var newer = -1
    var older = -1
  }

  /// Takes the place of the prefix cache that `pool` had.
  package init(pool: KVPool) {
    self.pool = pool
    pool.prefixes = self
  }

  deinit {
    for place in places.values { pool.release(entries[place].block) }
  }

  /// A sequence that begins with what is known of `prompt`, at most all but its last token, so that
  /// there is a token left whose logits can be computed.
  ///
  /// - Returns: the sequence and the number of its positions, a multiple of 16.
  /// - Complexity: O(prompt).
  package func adopt(prompt: [TokenID]) -> (cache: KVCache, cachedCount: Int) {
    let path = find(prompt, limit: max(0, prompt.count - 1) / BlockLayout.length)
    use(path)
    let count = path.count * BlockLayout.length
    statistics.lookups += 1
    statistics.hits += path.isEmpty ? 0 : 1
    statistics.cachedTokens += count
    let blocks = path.map { entries[$0].block }
    return (KVCache(pool: pool, sharing: blocks, committedCount: count), count)
  }

  /// Remembers the full blocks of a sequence; where an equal block is known already, the sequence
  /// refers to that one from now on.
  ///
  /// `tokens` are those of the committed positions; more are ignored.
  ///
  /// - Complexity: O(tokens).
  package func insert(_ cache: KVCache, tokens: [TokenID]) {
    precondition(cache.pool === pool, "a sequence of another engine")
    precondition(
      tokens.count >= cache.committedCount,
      "\(tokens.count) tokens for \(cache.committedCount) positions")
    let count = cache.committedCount / BlockLayout.length
    var path = find(tokens, limit: count)
    for number in path.indices {
      let block = entries[path[number]].block
      if cache.blocks[number] != block { cache.replaceBlock(number, by: block) }
    }
    for number in path.count..<count {
      path.append(
        add(key(tokens, number, parent: path.last), block: cache.blocks[number], parent: path.last))
    }
    use(path)
  }

  /// Gives up to `count` blocks back to the pool, the least recently used first.
  /// - Returns: how many were given back.
  @discardableResult
  package func evict(_ count: Int) -> Int {
    var evicted = 0
    var place = oldest
    while evicted < count, place >= 0 {
      let next = entries[place].newer
      // Children stand before their parents: each was used whenever its child was, and after it.
      if entries[place].childCount == 0, pool.referenceCount(of: entries[place].block) == 1 {
        remove(place)
        evicted += 1
      }
      place = next
    }
    statistics.evictions += evicted
    return evicted
  }

  /// Forgets everything that no sequence uses.
  package func removeAll() { evict(places.count) }

  // MARK: entries

  private func key(_ tokens: [TokenID], _ number: Int, parent: Int?) -> Key {
    var key = Key(parent: parent.map { entries[$0].identity } ?? 0, tokens: SIMD16())
    for index in 0..<BlockLayout.length {
      key.tokens[index] = tokens[number * BlockLayout.length + index].rawValue
    }
    return key
  }

  /// Places of the entries of the longest known beginning, `limit` blocks at most.
  private func find(_ tokens: [TokenID], limit: Int) -> [Int] {
    var path: [Int] = []
    while path.count < limit, let place = places[key(tokens, path.count, parent: path.last)] {
      path.append(place)
    }
    return path
  }

  private func add(_ key: Key, block: Int, parent: Int?) -> Int {
    pool.retain(block)
    let entry = Entry(key: key, identity: nextIdentity, block: block, parent: parent ?? -1)
    nextIdentity += 1
    if let parent { entries[parent].childCount += 1 }
    let place: Int
    if let free = vacant.popLast() {
      place = free
      entries[place] = entry
    } else {
      place = entries.count
      entries.append(entry)
    }
    places[key] = place
    link(place)
    return place
  }

  private func remove(_ place: Int) {
    let entry = entries[place]
    unlink(place)
    if entry.parent >= 0 { entries[entry.parent].childCount -= 1 }
    places[entry.key] = nil
    vacant.append(place)
    pool.release(entry.block)
  }

  /// Notes that a path was used: its end first, so that parents are always newer than children.
  private func use(_ path: [Int]) {
    for place in path.reversed() {
      unlink(place)
      link(place)
    }
  }

  /// Appends to the list as the newest.
  private func link(_ place: Int) {
    entries[place].older = newest
    entries[place].newer = -1
    if newest >= 0 { entries[newest].newer = place } else { oldest = place }
    newest = place
  }

  private func unlink(_ place: Int) {
    let (newer, older) = (entries[place].newer, entries[place].older)
    if newer >= 0 { entries[newer].older = older } else { newest = older }
    if older >= 0 { entries[older].newer = newer } else { oldest = newer }
  }
}
