"""Thin Prefect tasks: read typed inputs, call one core function, write one output."""
