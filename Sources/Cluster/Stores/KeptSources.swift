package import Decoding
package import InferenceTypes
package import Logging
import Synchronization
import Transport
import Wire

/// The draft sources of a worker, on the thread that uses them, and the file that they come from
/// and go to.
package struct KeptSources: SourceLender {
  private var shelf: SourceShelf
  private let saver: DraftStoreSaver?
  private let saveInterval: Duration
  private let clock = ContinuousClock()
  private var savedRevision: Int
  private var nextSave: ContinuousClock.Instant

  /// Reads the file, where there is one. Methods without sources keep none.
  package init(
    _ settings: DraftStoreSettings, methods: DraftMethods, identity: WorkerIdentity, logger: Logger
  ) {
    let vocabularyCount = identity.vocabularyCount
    shelf = SourceShelf(
      isolation: settings.isolation, tenantMax: settings.tenantMax ?? DraftStoreSettings.tenantMax,
      vocabularyCount: vocabularyCount
    ) { methods.makeSources(vocabularyCount: vocabularyCount) }
    saveInterval = settings.saveInterval
    nextSave = clock.now + settings.saveInterval
    var saver: DraftStoreSaver?
    if let path = settings.path, methods.usesSources {
      let stamp = StoreStamp(
        modelFingerprint: identity.modelFingerprint.bytes,
        tokenizerFingerprint: identity.tokenizerFingerprint.bytes,
        vocabularyCount: vocabularyCount)
      let file = DraftStoreFile(path: path, stamp: stamp) { notice in
        logger.log(
          level: notice == .inUse ? .notice : .warning, "draft store",
          metadata: ["path": "\(path)", "notice": "\(notice)"])
      }
      file.load(into: &shelf)
      do { saver = try DraftStoreSaver(file) } catch {
        logger.warning("draft store", metadata: ["path": "\(path)", "notice": "\(error)"])
      }
    }
    self.saver = saver
    savedRevision = shelf.revision
  }

  /// Lends the sources for a tenant's texts.
  package mutating func use<Result, Failure: Error>(
    _ tenant: TenantID?, _ body: (inout LocalSources) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try shelf.use(tenant, body)
  }

  /// Hands what was learned to the thread that saves, where it is time. What is handed over is a
  /// value: the next change copies what it changes, some megabytes, once for each save.
  ///
  /// - Returns: whether it was handed over.
  @discardableResult
  package mutating func saveIfDue() -> Bool {
    guard let saver, shelf.revision != savedRevision, clock.now >= nextSave else { return false }
    nextSave = clock.now + saveInterval
    // A disk that takes that long gets the next one.
    guard saver.offer(shelf) else { return false }
    savedRevision = shelf.revision
    return true
  }

  /// Saves what is not saved yet, and waits until that is done.
  package func finish() { saver?.finish(with: shelf.revision == savedRevision ? nil : shelf) }
}

/// The thread that writes draft stores: encoding takes tens of milliseconds, a disk longer.
final class DraftStoreSaver: Sendable {
  private enum Order: Sendable {
    case save(SourceShelf)
    case stop
  }

  /// Longest wait for the disk at the end.
  private static let finishMax = Duration.seconds(20)
  private let orders = Mailbox<Order>(limit: 1)
  private let ended = Mailbox<Void>(limit: 1)
  // Relaxed: what is handed over goes through the mailbox.
  private let isBusy = Atomic(false)

  /// - Throws: ``TransportError`` where the system has no thread left.
  init(_ file: DraftStoreFile) throws(TransportError) {
    _ = try PinnedThread(name: "draft-store") { [self] in
      while true {
        for order in orders.take(timeout: .seconds(3600)) {
          switch order {
          case .save(let shelf):
            file.save(shelf)
            isBusy.store(false, ordering: .relaxed)
          case .stop:
            ended.post(())
            return
          }
        }
      }
    }
  }

  /// Saves soon.
  ///
  /// - Returns: false where it is still busy with an earlier order.
  func offer(_ shelf: SourceShelf) -> Bool {
    guard !isBusy.exchange(true, ordering: .relaxed) else { return false }
    orders.post(.save(shelf))
    return true
  }

  /// Saves a last time, and returns when it is done or the disk took too long. Called once.
  func finish(with shelf: SourceShelf?) {
    if let shelf { orders.post(.save(shelf)) }
    orders.post(.stop)
    _ = ended.take(timeout: Self.finishMax)
  }
}
