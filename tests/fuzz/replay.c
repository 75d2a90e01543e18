/* Runs a target over its corpus, each file once; a file that kills it is the last one named. */
#include "fuzz.h"

#include "base/mem.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

static void
replay(const char *path, const char *name)
{
	struct stat st;
	FILE *f = fopen(path, "rb");
	fprintf(stderr, "# %s\n", name);
	if (f == NULL || fstat(fileno(f), &st) < 0) {
		perror(path);
		exit(1);
	}
	/* A block of the input's own size, so that a sanitizer sees a byte read past it. */
	uint8_t *data = rfl_alloc((size_t)st.st_size + (st.st_size == 0));
	size_t size = fread(data, 1, (size_t)st.st_size, f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

static int
is_file(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

int
main(void)
{
	struct dirent **files;
	const char *source = getenv("RIFFLE_SRC");
	char *dir = rfl_sprintf("%s/tests/fuzz/corpus/%s", source ? source : ".", fuzz_name);
	int count = scandir(dir, &files, is_file, alphasort);
	if (count <= 0) {
		printf("1..1\nnot ok 1 - no corpus in %s\n", dir);
		return 1;
	}
	printf("1..%d\n", count);
	for (int i = 0; i < count; i++) {
		char *path = rfl_sprintf("%s/%s", dir, files[i]->d_name);
		replay(path, files[i]->d_name);
		printf("ok %d - %s %s\n", i + 1, fuzz_name, files[i]->d_name);
		fflush(stdout);
		free(path);
		free(files[i]);
	}
	free(files);
	free(dir);
	return 0;
}
