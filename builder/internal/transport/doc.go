// SPDX-License-Identifier: Apache-2.0

// Package transport has the names of the transports of containers-transports(5), which are the part of an image name
// before the first colon, and redacts image names for messages.
package transport
