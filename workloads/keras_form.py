"""What the Keras scripts behind the published tables leave to Keras: Glorot-uniform kernels, biases, stride 1, Adam."""

from functools import partial

from workloads.spec import Adam, Conv2D, Dense, GlorotUniform, MaxPool2D

conv = partial(Conv2D, strides=(1, 1), use_bias=True, kernel_initializer=GlorotUniform())
dense = partial(Dense, use_bias=True, kernel_initializer=GlorotUniform())
POOL_2X2 = MaxPool2D(pool_size=(2, 2), strides=(2, 2), padding="valid")
KERAS_ADAM = Adam(learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-7, epsilon_form="epsilon-hat")
