//Numpy array shape [10]
//Min -0.062500000000
//Max 0.093750000000
//Number of zeros 1

#ifndef B73_H_
#define B73_H_

namespace stage0 {

#ifndef __SYNTHESIS__
bias73_t b73[10];
#else
bias73_t b73[10] = {0.03125, 0.00000, 0.06250, -0.06250, -0.03125, -0.03125, 0.03125, -0.03125, 0.09375, -0.06250};

#endif
}


#endif
