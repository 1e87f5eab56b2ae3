/*
 * A library built for a C library that does not exist yet; with IS_LIBC, that C library's share of
 * it, which only the linker sees.
 */
#ifdef IS_LIBC
void from_the_future(void) {}
#else
void from_the_future(void);
void hrun_fake_call(void) { from_the_future(); }
#endif
