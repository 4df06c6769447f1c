"""The shop with all that it needs: `python -m flask_shop`, in the folder of the examples."""

from shop_play import play

FLASK = ["-m", "flask", "--app", "flask_shop"]
GUNICORN = ["-m", "gunicorn", "--bind", "127.0.0.1:PORT", "--log-level", "warning"]

if __name__ == "__main__":
    play(
        make=[*FLASK, "create-tables"],
        server=[*GUNICORN, "--workers", "2", "--threads", "8", "flask_shop:create_app()"],
        worker=[*FLASK, "saga", "worker"],
    )
