// SPDX-License-Identifier: Apache-2.0

// Package step holds what a build does to the root file system, a file for each concern: debootstrap,
// packages, accounts, network, boot loaders' files, hooks. A Step is data, so that a plan can be printed,
// compared and hashed; it runs in a Context, which holds the target, the toolbox and what the host lends for
// the time of the build.
//
// A step knows neither the options that it comes from nor the cache that its result may go to.
package step
