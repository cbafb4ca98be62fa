// Counts allocations by redirecting the calls of all loaded objects; see cmeasure.h.
#include "cmeasure.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_uint_fast64_t calls;

// What the calls meant before they were redirected.
static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void *(*real_aligned_alloc)(size_t, size_t);
static void *(*real_memalign)(size_t, size_t);
static int (*real_posix_memalign)(void **, size_t, size_t);
static void *(*real_mmap)(void *, size_t, int, int, int, off_t);

static void count(void) { atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed); }

static void *counted_malloc(size_t size) {
  count();
  return real_malloc(size);
}

static void *counted_calloc(size_t number, size_t size) {
  count();
  return real_calloc(number, size);
}

static void *counted_realloc(void *old, size_t size) {
  count();
  return real_realloc(old, size);
}

static void *counted_aligned_alloc(size_t alignment, size_t size) {
  count();
  return real_aligned_alloc(alignment, size);
}

static void *counted_memalign(size_t alignment, size_t size) {
  count();
  return real_memalign(alignment, size);
}

static int counted_posix_memalign(void **out, size_t alignment, size_t size) {
  count();
  return real_posix_memalign(out, alignment, size);
}

static void *counted_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
  count();
  return real_mmap(at, size, protection, flags, fd, offset);
}

static const struct {
  const char *name;
  void *counted;
  void **real;
} functions[] = {
    {"malloc", (void *)counted_malloc, (void **)&real_malloc},
    {"calloc", (void *)counted_calloc, (void **)&real_calloc},
    {"realloc", (void *)counted_realloc, (void **)&real_realloc},
    {"aligned_alloc", (void *)counted_aligned_alloc, (void **)&real_aligned_alloc},
    {"memalign", (void *)counted_memalign, (void **)&real_memalign},
    {"posix_memalign", (void *)counted_posix_memalign, (void **)&real_posix_memalign},
    {"mmap", (void *)counted_mmap, (void **)&real_mmap},
};
enum { function_count = sizeof functions / sizeof *functions };

#if defined(__x86_64__)
enum { jump_slot = R_X86_64_JUMP_SLOT, global_data = R_X86_64_GLOB_DAT };
#elif defined(__aarch64__)
enum { jump_slot = R_AARCH64_JUMP_SLOT, global_data = R_AARCH64_GLOB_DAT };
#else
#error "no relocation numbers for this processor"
#endif

// One walk over all objects.
typedef struct {
  int counts;      // whether calls are to be counted or go where they went before
  int redirected;  // addresses written, or a negative errno value
  // Addresses that the linker made read-only: the latest range that was opened.
  uintptr_t open_first, open_end;
  size_t page;
} walk;

// Writes an address, opening its page where the linker closed it.
static void redirect(walk *walk, void **slot, void *target) {
  uintptr_t first = (uintptr_t)slot & ~(walk->page - 1);
  if (first < walk->open_first || first >= walk->open_end) {
    if (mprotect((void *)first, walk->page, PROT_READ | PROT_WRITE) != 0) {
      walk->redirected = -errno;
      return;
    }
    walk->open_first = first;
    walk->open_end = first + walk->page;
  }
  __atomic_store_n(slot, target, __ATOMIC_RELEASE);
  walk->redirected++;
}

static void redirect_all(
    walk *walk, ElfW(Addr) base, const ElfW(Rela) *relocations, size_t size,
    const ElfW(Sym) *symbols, const char *names) {
  for (size_t i = 0; i < size / sizeof *relocations; i++) {
    const ElfW(Rela) *relocation = &relocations[i];
    unsigned type = (unsigned)ELF64_R_TYPE(relocation->r_info);
    if (type != jump_slot && type != global_data) continue;
    const char *name = names + symbols[ELF64_R_SYM(relocation->r_info)].st_name;
    for (int f = 0; f < function_count && walk->redirected >= 0; f++) {
      if (strcmp(name, functions[f].name) != 0) continue;
      void *target = walk->counts ? functions[f].counted : *functions[f].real;
      redirect(walk, (void **)(base + relocation->r_offset), target);
    }
  }
}

static int visit(struct dl_phdr_info *object, size_t size, void *argument) {
  (void)size;
  walk *walk = argument;
  const ElfW(Dyn) *dynamic = NULL;
  for (int i = 0; i < object->dlpi_phnum; i++)
    if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
      dynamic = (const void *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
  // The loader and the kernel's own object allocate nothing for anybody.
  if (dynamic == NULL || strstr(object->dlpi_name, "linux-vdso") != NULL ||
      strstr(object->dlpi_name, "/ld-linux") != NULL)
    return 0;
  const ElfW(Rela) *calls = NULL, *data = NULL;
  size_t calls_size = 0, data_size = 0;
  const ElfW(Sym) *symbols = NULL;
  const char *names = NULL;
  for (; dynamic->d_tag != DT_NULL; dynamic++) {
    void *address = (void *)dynamic->d_un.d_ptr;
    switch (dynamic->d_tag) {
    case DT_JMPREL: calls = address; break;
    case DT_PLTRELSZ: calls_size = dynamic->d_un.d_val; break;
    case DT_RELA: data = address; break;
    case DT_RELASZ: data_size = dynamic->d_un.d_val; break;
    case DT_SYMTAB: symbols = address; break;
    case DT_STRTAB: names = address; break;
    default: break;
    }
  }
  if (symbols == NULL || names == NULL) return 0;
  if (calls) redirect_all(walk, object->dlpi_addr, calls, calls_size, symbols, names);
  if (data) redirect_all(walk, object->dlpi_addr, data, data_size, symbols, names);
  return walk->redirected < 0;
}

static int walk_objects(int counts) {
  walk walk = {.counts = counts, .page = (size_t)sysconf(_SC_PAGESIZE)};
  dl_iterate_phdr(visit, &walk);
  return walk.redirected;
}

int cmeasure_allocations_start(void) {
  for (int f = 0; f < function_count; f++) {
    if (*functions[f].real == NULL) *functions[f].real = dlsym(RTLD_DEFAULT, functions[f].name);
    if (*functions[f].real == NULL) return -ENOSYS;
  }
  atomic_store(&calls, 0);
  int redirected = walk_objects(1);
  if (redirected < 0) walk_objects(0);
  return redirected;
}

uint64_t cmeasure_allocations(void) { return atomic_load(&calls); }

void cmeasure_allocations_stop(void) { walk_objects(0); }
