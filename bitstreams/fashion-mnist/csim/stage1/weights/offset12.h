//Numpy array shape [64]
//Min -178.000000000000
//Max 310.000000000000
//Number of zeros 1

#ifndef OFFSET12_H_
#define OFFSET12_H_

namespace stage1 {

#ifndef __SYNTHESIS__
node__symbolic_12_offset_t offset12[64];
#else
node__symbolic_12_offset_t offset12[64] = {-64, 142, 110, 128, 122, 102, -175, -35, -39, 241, 237, 46, -137, 118, 56, 189, 0, -15, 78, 57, 139, 49, 79, 5, 79, 140, 130, -11, 26, 187, 1, -26, 7, 134, 310, -176, 140, 58, 119, -7, 178, 115, 9, -5, 73, 204, 194, 94, -178, 138, 235, 275, 168, 70, 236, -35, -4, 243, 140, 206, 106, 72, 92, 193};

#endif
}


#endif
