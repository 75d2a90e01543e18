dnl RFL_PROBE_CFLAGS(FLAGS): adds to RFL_CFLAGS those of the flags that the compiler knows.
AC_DEFUN([RFL_PROBE_CFLAGS], [
  for flag in $1; do
    AC_MSG_CHECKING([whether $CC knows $flag])
    rfl_saved="$CFLAGS"
    CFLAGS="$CFLAGS -Werror $flag"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([int riffle_probe;])],
      [AC_MSG_RESULT([yes]); RFL_CFLAGS="$RFL_CFLAGS $flag"], [AC_MSG_RESULT([no])])
    CFLAGS="$rfl_saved"
  done
])
