//Numpy array shape [64]
//Min -20.000000000000
//Max 278.000000000000
//Number of zeros 0

#ifndef OFFSET13_H_
#define OFFSET13_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node__symbolic_12_offset_t offset13[64];
#else
node__symbolic_12_offset_t offset13[64] = {47, 116, 63, 69, 140, 76, 79, 46, 103, 74, 128, 143, 82, 40, 81, 278, 218, 26, -7, 208, 9, 80, 174, 73, 94, 73, 59, 187, 66, 100, 131, 120, 162, 21, 134, 167, 173, 162, 187, 143, 127, 101, -20, 101, 200, 43, 105, 93, 39, 134, 94, 150, 44, 116, 123, 138, 140, 43, 99, 168, 161, 158, 203, 237};

#endif
}


#endif
