/* A library of the driver that no test calls; it is there to be found and loaded. */
const char hrun_fake_driver[] = VERSION;
