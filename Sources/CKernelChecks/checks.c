// The list of checks.
#include "support.h"

#include <stdio.h>

typedef struct check {
  const char *name;
  bool per_table;
  check_function *run;
} check;

static const check checks[] = {
    {"matrix products, any number of columns", true, check_matmul_columns},
    {"matrix products against double precision", true, check_matmul_oracle},
    {"matrix products of NaN and infinities", true, check_matmul_not_finite},
    {"quantised activations", true, check_quantize},
    {"activations as floats", true, check_interleave},
    {"activations as pairs of BF16", true, check_interleave_pairs},
    {"RMS norm", true, check_rms_norm},
    {"SiLU", true, check_silu_multiply},
    {"GELU", true, check_gelu_multiply},
    {"exponentials", true, check_exponentials},
    {"rotation of pairs", true, check_rope_adjacent},
    {"rotation of halves", true, check_rope_halves},
    {"addition", true, check_add},
    {"scaling", true, check_scale},
    {"soft caps", true, check_soft_cap},
    {"storing keys and values", true, check_cache_store},
    {"attention", true, check_attention},
    {"attention over long contexts", true, check_attention_long},
    {"attention over extremes", true, check_attention_extremes},
    {"attention over NaN and infinities", true, check_attention_not_finite},
    {"top k", true, check_top_k},
    {"half precision", false, check_halves},
    {"bfloat16", false, check_bfloats},
    {"rows to floats and back", false, check_rows},
    {"rows whose scales are searched", false, check_searched_rows},
    {"panels", false, check_panels},
    {"rotary tables", false, check_rope_table},
    {"planted faults are found", false, check_mutations},
    {"matrix products of subnormals", true, check_matmul_subnormal},
};

size_t ck_check_count(void) { return LENGTH(checks); }

const char *ck_check_name(size_t index) { return checks[index].name; }

bool ck_check_is_per_table(size_t index) { return checks[index].per_table; }

size_t ck_check_run(size_t index, const ck_kernels *kernels, ck_effort effort, char *text,
                    size_t capacity) {
  context c = {.kernels = kernels,
               .scalar = ck_kernels_at(0),
               .full = effort == ck_effort_full,
               .formats = UINT32_MAX,
               .random = index + 1,
               .text = text,
               .capacity = capacity};
  text[0] = 0;
  checks[index].run(&c);
  release(&c);
  return c.failures;
}

int ck_checks_main(const char *label, ck_effort effort) {
  size_t run = 0, failures = 0, count = 0;
  while (ck_kernels_at(count) != NULL) count++;
  for (size_t table = 0; table < count; table++) {
    for (size_t i = 0; i < ck_check_count(); i++) {
      if (table > 0 && !ck_check_is_per_table(i)) continue;
      char text[4000];
      size_t failed = ck_check_run(i, ck_kernels_at(table), effort, text, sizeof text);
      if (failed > 0) printf("FAILED (%zu times): %s\n%s", failed, ck_check_name(i), text);
      failures += failed;
      run++;
    }
  }
  printf("%s: %zu checks, %zu failures (", label, run, failures);
  for (size_t i = count; i-- > 0;) printf("%s%s", ck_kernels_at(i)->name, i > 0 ? ", " : ")\n");
  return failures > 0;
}
