/*
 * An MPI library that no test calls: it has the names that tests/fakes/ring.c asks for, as MPICH's
 * family has them or, with -DOPENMPI, as Open MPI has them. With -DOLD it lacks one.
 */
#define FUNCTION(name) \
    int name(void) { return 0; } \
    int P##name(void) { return 0; }

FUNCTION(MPI_Init)
FUNCTION(MPI_Abort)
FUNCTION(MPI_Comm_rank)
FUNCTION(MPI_Comm_size)
#ifndef OLD
FUNCTION(MPI_Sendrecv)
#endif
FUNCTION(MPI_Allreduce)
FUNCTION(MPI_Barrier)
FUNCTION(MPI_Finalize)

#ifdef OPENMPI
int ompi_mpi_comm_world, ompi_mpi_byte, ompi_mpi_int, ompi_mpi_op_sum;
#else
const char MPII_Version_string[] = VERSION;
#endif
