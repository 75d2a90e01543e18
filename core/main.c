/* riffle: everything begins with a verb. */
#include "cli/cli.h"

int
main(int argc, char **argv)
{
	return rfl_cli_main(argc, argv);
}
