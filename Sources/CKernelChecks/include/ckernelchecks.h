// Checks of CKernels that need nothing but libc, so that the same code runs inside the Swift tests
// and, cross-built, under an emulator of another processor.
//
// Every check runs one table of kernels against the scalar one, bit for bit (any NaN equals any
// other), and against an independent computation in double precision where there is one.
#ifndef CKERNELCHECKS_H
#define CKERNELCHECKS_H

#include <stdbool.h>
#include <stddef.h>

#include "ckernels.h"

#pragma clang assume_nonnull begin

/// How many sizes a check goes through.
typedef enum ck_effort {
  ck_effort_quick = 0,  ///< For emulators.
  ck_effort_full = 1,   ///< Around a second per check.
} ck_effort;

size_t ck_check_count(void);

/// What check `index` < ck_check_count() looks at, a few words.
const char *ck_check_name(size_t index);

/// Whether check `index` depends on the table it is given; one run of the others is enough.
bool ck_check_is_per_table(size_t index);

/// Runs check `index` on `kernels`.
///
/// Returns how many comparisons failed; `text[capacity]` (capacity at least 1) receives a
/// terminated description of the first ones, one per line: table, sizes, index, values.
size_t ck_check_run(size_t index, const ck_kernels *kernels, ck_effort effort, char *text,
                    size_t capacity);

/// Runs every check on every table of this processor and prints
/// "<label>: N checks, F failures (tables)", failures before it. Returns a process exit code.
int ck_checks_main(const char *label, ck_effort effort);

#pragma clang assume_nonnull end

#endif
