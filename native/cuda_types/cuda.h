// Stands in for CUDA's header of this name where the machine has none: c10/cuda asks for it and uses nothing of it that we do.
#pragma once
