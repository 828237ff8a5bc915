"""Modules of e2cnn and escnn as layers of this library: field types, rules for layers, whole models."""
