def write_report(**kw): raise NotImplementedError
